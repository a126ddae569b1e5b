"""A laboratory of address translators: network namespaces, routers of every kind, and real nodes behind them."""
