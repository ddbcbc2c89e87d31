"""What machines are told of the runs of `sync-queue`: a heartbeat, and a file of metrics."""
