"""The command line: verbs, options, help, completion and Hydra's multirun."""
