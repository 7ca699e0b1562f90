"""Settings as people see them: without passwords."""

import pytest

from emailrelay.config.shown import shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://ann:sesame@x.test/mail", "postgresql://ann:***@x.test/mail"),
        ("postgresql://ann:se/s?a#m@e@x.test/mail", "postgresql://ann:***@x.test/mail"),
        ("postgresql://ann:se same@x.test/mail", "postgresql://ann:***@x.test/mail"),
        (
            "postgresql://x.test/mail?password=se/same&a=b",
            "postgresql://x.test/mail?password=***&a=b",
        ),
        ("postgresql://x.test:5432/a postgresql://ann@y.test/b",) * 2,
        ("spool:///var/spool/emailrelay",) * 2,
    ],
)
def test_no_password_in_a_url_is_shown(url: str, expected: str) -> None:
    assert shown([url]) == [expected]
