"""What runs by itself: scheduled functions and crons, run by whoever has the workspace."""
