"""Line grammars of the run logs and container logs, one module per dialect."""
