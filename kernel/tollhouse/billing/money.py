"""Currencies and their exponents: how minor units are written for people. ISO 4217, and XTR (Telegram's stars)."""

from __future__ import annotations

from tollhouse.plugin.payments import Money

_WITHOUT_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF XTR"
_WITH_THREE = "BHD IQD JOD KWD LYD OMR TND"
_ALL = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY
    COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS
    INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP
    MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR
    SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYI UYU UZS VED VES
    VND VUV WST XAF XCD XOF XPF XTR YER ZAR ZMW ZWG
"""
CURRENCIES = frozenset(_ALL.split())
_NO_DECIMALS, _THREE_DECIMALS = frozenset(_WITHOUT_DECIMALS.split()), frozenset(_WITH_THREE.split())


def exponent(currency: str) -> int:
    """How many decimals the currency is written with."""
    return 0 if currency in _NO_DECIMALS else 3 if currency in _THREE_DECIMALS else 2


def money_text(money: Money) -> str:
    """An amount for people: "12.50 EUR", "1,200 JPY"."""
    places = exponent(money.currency)
    whole, rest = divmod(abs(money.minor), 10**places)
    sign = "-" if money.minor < 0 else ""
    return f"{sign}{whole:,}{f'.{rest:0{places}d}' if places else ''} {money.currency}"
