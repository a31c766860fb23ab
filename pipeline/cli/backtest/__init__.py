"""`opinionwatch backtest`."""
