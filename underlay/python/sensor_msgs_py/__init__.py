"""The point cloud helpers of sensor_msgs_py, for machines without a ROS distribution."""
