"""Distribution packages unpacked over a base, and configured where the image is a full one."""
