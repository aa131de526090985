"""One file = one recipe: settings, setup and the loop in plain sight; run.py seeds, logs, saves and resumes."""
