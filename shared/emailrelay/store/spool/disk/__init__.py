"""Files and directories: names, system calls, and what the file system can do."""
