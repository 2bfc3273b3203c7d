"""What `/metrics` says."""

from actguard.gateway.http.metrics import Metrics


def test_counts_are_whole_however_many_requests_there_were() -> None:
    metrics = Metrics()
    route = metrics.route("POST /api/v1/reserve")
    route.buckets[0] = 1_234_566
    route.add(200, 0.0004)
    route.add(409, 7.0)
    text = metrics.text(waiting=0, batches=1, operations=1, open_holds=0)
    seconds = 'actguard_request_seconds_bucket{route="POST /api/v1/reserve",le='
    assert f'{seconds}"0.001"}} 1234567\n' in text
    assert f'{seconds}"5.0"}} 1234567\n{seconds}"+Inf"}} 1234568\n' in text
    assert 'actguard_request_seconds_count{route="POST /api/v1/reserve"} 1234568\n' in text
    assert 'actguard_requests_total{route="POST /api/v1/reserve",status="409"} 1\n' in text


def test_a_route_that_nobody_asked_for_is_not_told_of() -> None:
    metrics = Metrics()
    metrics.route("GET /api/v1/budget")
    assert "budget" not in metrics.text(waiting=0, batches=0, operations=0, open_holds=0)


def test_open_holds_that_nobody_can_count_now_are_not_said_to_be_none() -> None:
    assert "open_holds" not in Metrics().text(waiting=0, batches=0, operations=0, open_holds=None)
    assert "actguard_open_holds 7\n" in Metrics().text(waiting=0, batches=0, operations=0, open_holds=7)
