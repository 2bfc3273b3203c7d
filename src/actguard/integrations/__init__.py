"""What makes actguard at home in other people's software."""
