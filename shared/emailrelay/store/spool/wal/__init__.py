"""The log in front of a spool's files: one sync a batch makes commits and settlements durable."""
