"""TRG, the network: its configuration, landmark topology, layers and losses. No I/O.

Configuration, topology and what a checkpoint must hold (`config`, `topology`, `state`) and the uncertainty
head need no torch; the rest is pure torch.
"""
