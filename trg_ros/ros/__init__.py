"""The ROS 2 layer: the only room that imports rclpy."""
