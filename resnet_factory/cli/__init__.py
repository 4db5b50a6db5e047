"""The command line: commands, options, help, completion and Hydra's multirun."""
