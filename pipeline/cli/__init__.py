"""The command line: one file per command, or one folder where a command needs several files.

The file that declares a command imports only what its options need. It imports the rooms inside its functions, so
that `--help` loads no client library, no numpy and no settings.
"""
