"""How fast it is here: stage by stage, beside its peers, through ROS. `trg-headpose benchmark`."""
