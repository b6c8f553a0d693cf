"""Money: amounts are integers in minor units, and each currency has its own number of them. The one table of currencies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tollhouse.plugin.errors import InvalidInput

# ISO 4217, list one (funds codes, precious metals and test codes left out), by the digits after the point.
_TWO: Final = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP
DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR
LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB
SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG
YER ZAR ZMW ZWG
"""
_NONE: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE: Final = "BHD IQD JOD KWD LYD OMR TND"

EXPONENTS: Final[dict[str, int]] = {
    **dict.fromkeys(_TWO.split(), 2),
    **dict.fromkeys(_NONE.split(), 0),
    **dict.fromkeys(_THREE.split(), 3),
    "UYW": 4,
    "XTR": 0,  # Telegram Stars: not of ISO 4217, but what its plans are sold for
}

SIGNS: Final[dict[str, str]] = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥", "XTR": "⭐"}


def exponent(code: str) -> int:
    """How many digits after the point the currency has: EUR 2, JPY 0, KWD 3, XTR 0; 2 for one that is not known any more."""
    return EXPONENTS.get(code, 2)


def valid_currency(code: str, field: str = "currency") -> str:
    """The currency's code in upper case; ``field`` is what the error names.

    Raises:
        InvalidInput: it is not a currency.
    """
    code = code.strip().upper()
    if code not in EXPONENTS:
        raise InvalidInput("That is not a currency of ISO 4217, such as EUR or USD", field=field)
    return code


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units with the currency's own exponent (ISO 4217: EUR 2, JPY 0; XTR 0).

    ``currency`` is the code in upper case.
    """

    minor: int
    currency: str

    @property
    def exponent(self) -> int:
        """How many digits after the point the currency has; 2 for one that is not known any more."""
        return exponent(self.currency)

    def figure(self) -> str:
        """The amount in digits, with all that the currency has: ``1,200`` (JPY), ``19.90`` (EUR), ``-0.500`` (KWD)."""
        digits = self.exponent
        whole, rest = divmod(abs(self.minor), 10**digits)
        return f"{'-' if self.minor < 0 else ''}{whole:,}{f'.{rest:0{digits}d}' if digits else ''}"
