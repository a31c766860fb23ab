"""Who is notified of an alert, when and how: the policy, one queue per channel, and the channels."""
