"""The reference table has every key of the configuration."""

from gateway.config import Config, defaults_table
from gateway.config.fields import leaves


def test_the_table_has_every_key_once_with_a_default_a_range_and_a_sentence() -> None:
    table = {row.key: row for row in defaults_table()}
    assert len(table) == len(defaults_table()) == len(list(leaves(Config)))
    assert all(row.default and row.allowed and row.description.endswith(".") for row in table.values())
    assert table["server.listen"][:3] == (
        "server.listen",
        '"127.0.0.1:8080"',
        "host:port, [IPv6]:port, :port or unix:/path",
    )
    assert table["server.cors_origins"][1:3] == ("[]", 'a list, each "*" or scheme://host[:port]')
    assert table["stream.keepalive_seconds"][1:3] == ("15", "0.01 to 3600")
    assert table["ttft.hedge_after"][1:3] == ('"off"', '"off", "auto" or 1 to 3600000')
    assert table["upstreams[].include_usage"][1:3] == ("true", "true or false")
    assert table["upstreams[].models[].upstream_id"].default == "the id"
    assert table["upstreams[].name"].default == "required"
    assert "upstreams[].api_key" not in table
