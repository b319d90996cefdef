"""What HTTP asks for, one small decision a file: no I/O, no clock, no chance."""
