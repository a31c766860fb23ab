"""The parts of every worker process: roles, health, status and logs."""
