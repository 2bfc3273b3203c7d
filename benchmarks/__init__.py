"""What actguard costs and what it stops, measured: `make bench`. Figures for people; no test depends on a clock."""
