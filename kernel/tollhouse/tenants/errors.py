"""Errors of tenants."""

from __future__ import annotations

from tollhouse.plugin.errors import Conflict


class SlugTaken(Conflict):
    code = "slug_taken"
    title = "There is a tenant with this short name already"


class CostCurrencyInUse(Conflict):
    code = "cost_currency_in_use"
    title = "Amounts are counted in this currency already"


class PricesLost(Conflict):
    """Another currency of costs would leave models without a price. ``prices`` names them."""

    code = "prices_lost"
    title = "Some model prices do not count in another currency"


class HostTaken(Conflict):
    code = "host_taken"
    title = "This host name belongs to another tenant"
