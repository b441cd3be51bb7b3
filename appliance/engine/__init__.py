"""Everything that runs on an accelerator, and the processes that own one."""
