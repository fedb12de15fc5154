"""Prices: versioned lists, what a job costs by one of them, and the receipt it gets in the end."""

from impasto_billing.prices.price_list import PriceList, price_list_of, read_price_lists
from impasto_billing.prices.quote import LineItem, Meter, Quote, Receipt

__all__ = ["LineItem", "Meter", "PriceList", "Quote", "Receipt", "price_list_of", "read_price_lists"]
