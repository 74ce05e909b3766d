"""The model of ``identity.yml``: which e-mail domains stand for no company, and who is never scored.

Here are the settings and the checks that name what was expected. How users find their accounts, and where the
patterns are applied, is in the dbt models.
"""

import re

from pydantic import Field, field_validator

from dagster_project.core.strict import StrictModel

_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")


class ExcludedPattern(StrictModel):
    """Users of whom an id or address matches are not scored.

    Attributes:
        pattern: A glob, in lower case; `*` stands for anything.
        reason: What `marts.exclusions` says.
    """

    pattern: str = Field(min_length=1)
    reason: str = Field(min_length=1)

    @field_validator("pattern")
    @classmethod
    def _says_something(cls, pattern: str) -> str:
        if not pattern.replace("*", "").strip():
            raise ValueError(f"{pattern!r} would exclude everybody: expected a glob such as 'test@*'")
        return pattern.strip().lower()


class ExcludedDomain(StrictModel):
    """Users whose e-mail host, or its registrable domain, is this are not scored."""

    domain: str
    reason: str = Field(min_length=1)

    @field_validator("domain")
    @classmethod
    def _is_domain(cls, domain: str) -> str:
        return _domain(domain)


class ExcludedTrait(StrictModel):
    """Users whose latest identify trait `name` matches the glob `value` (any case) are not scored."""

    name: str = Field(pattern=r"^[^=\s]+$")
    value: str = Field(min_length=1)
    reason: str = Field(min_length=1)


class Exclusions(StrictModel):
    """Who is never scored. A user who matches several rules is listed with one reason."""

    domains: tuple[ExcludedDomain, ...] = ()
    email_patterns: tuple[ExcludedPattern, ...] = ()
    user_id_patterns: tuple[ExcludedPattern, ...] = ()
    traits: tuple[ExcludedTrait, ...] = ()


class IdentityRules(StrictModel):
    """``identity.yml``.

    Attributes:
        free_mail: Hosts that anybody can have an address at; they never make an account.
        disposable: Hosts of throw-away addresses; they never make an account either.
        excluded: Who is never scored.
    """

    free_mail: tuple[str, ...]
    disposable: tuple[str, ...]
    excluded: Exclusions

    @field_validator("free_mail", "disposable")
    @classmethod
    def _are_domains(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_domain(domain) for domain in domains))


def _domain(text: str) -> str:
    domain = text.strip().lower()
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(f"{text!r} is no domain: expected something like 'example.com' (without @ or https://)")
    return domain
