"""What loadtest/bench is made of: the machine, the programs it starts, the measurements, the report."""
