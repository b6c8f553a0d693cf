"""Errors of authentication."""

from __future__ import annotations

from tollhouse.plugin.errors import Conflict, Forbidden, RateLimited, Unauthenticated, Unavailable


class BadCredentials(Unauthenticated):
    """The e-mail is unknown or the password is wrong: the two are never told apart."""

    code = "bad_credentials"
    title = "The e-mail or the password is not right"


class SessionRequired(Forbidden):
    """A key never leads to more than it has."""

    code = "session_required"
    title = "No API key can do that; sign in, and do it there"


class EmailNotVerified(Conflict):
    code = "email_not_verified"
    title = "Nobody has shown that this e-mail address is theirs; invite them instead, or confirm the address first"


class LinkInvalid(Unauthenticated):
    """Used, expired, voided by a newer one, of another purpose, or never made."""

    code = "link_invalid"
    title = "This link is not valid any more; ask for a new one"


class TooManyTries(RateLimited):
    title = "Too many sign-in tries; wait a little"


class TooManyRegistrations(RateLimited):
    title = "Too many accounts are being made from here; try again later"


class AccountBlocked(Forbidden):
    """Told to nobody but who has given the right password."""

    code = "user_blocked"
    title = "This account is blocked; ask who runs this service"


class HashingBusy(Unavailable):
    """More passwords are waiting to be checked than would be answered in time."""

    code = "sign_in_busy"
    title = "Too many people are signing in at this moment; try again shortly"


class EmailTaken(Conflict):
    code = "email_taken"
    title = "There is an account with this e-mail already"


class LastOwner(Conflict):
    code = "last_owner"
    title = "This is the last owner; make somebody else an owner first"
