"""The loop of the alert role: leadership, evaluation steps, recording, publishing, no-data detection."""
