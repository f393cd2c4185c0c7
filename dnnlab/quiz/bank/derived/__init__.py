"""What questions expect, and the way there, computed by the library; a room for each topic that needs one."""
