"""Run the trials of a study in processes on this machine and on others."""
