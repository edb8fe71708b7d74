"""What operators see: logs, metrics, traces, and the measurements behind them."""
