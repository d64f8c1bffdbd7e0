"""Kill searches and fill disks: short forms run with all tests, long ones with ``make faults``."""
