"""What every worker process has: its roles, health, status and logs."""
