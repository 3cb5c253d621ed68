"""`python -m trg_ros.demo`: a moving camera, the real node and a client on real DDS; ends by itself."""
