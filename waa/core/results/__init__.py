"""What a benchmark leaves behind for each task: pure readers of the result tree."""
