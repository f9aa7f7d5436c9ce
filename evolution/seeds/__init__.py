"""Schema seeds: virtual columns, the generator library behind them and the checks at ALTER time."""
