import errno
import socket
import threading

import httpx2
import pytest
from huggingface_hub import errors as hub_errors
from huggingface_hub import hf_hub_download
from huggingface_hub.utils import hf_raise_for_status, validate_repo_id

from superft_hf.errors import ModelError
from superft_hf.hub_failures import HUB_FAILURES, explain, scrub

HUB = "https://huggingface.co"
API = f"{HUB}/api/models/acme/vit"
TOKEN = "hf_" + "abcdefghijkl"


def answer(status: int, url: str = API, token: str = "", body: str = "{}", **headers: str) -> Exception:
    """What the real client makes of an answer of the Hub."""
    sent = {"authorization": f"Bearer {token}"} if token else {}
    request = httpx2.Request("GET", url, headers=sent)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = httpx2.Response(status, headers=named, content=body.encode(), request=request)
    try:
        hf_raise_for_status(response)
    except HUB_FAILURES as error:
        return error
    raise AssertionError("the client took it for a success")


def told(error: Exception, kind: str = "model") -> tuple[str, str, str]:
    found = explain(
        error, f"the {'data set' if kind == 'dataset' else 'model'} acme/vit", "acme/vit", kind=kind
    )
    return found.kind, found.message, found.hint


@pytest.mark.parametrize(
    ("error", "kind", "message", "hint"),
    [
        (answer(404, X_Error_Code="RepoNotFound"), "ModelNotFoundError",
         "There is no model acme/vit on the Hub.", "Check the name"),
        (answer(401), "ModelNotFoundError", "There is no model acme/vit on the Hub.", "needs a token"),
        (answer(401, token=TOKEN), "TokenRefusedError", "does not accept the token", "hf auth login"),
        (answer(401, token=TOKEN, X_Error_Message="Invalid credentials in Authorization header"),
         "TokenRefusedError", "does not accept the token", "hf auth login"),
        (answer(401, f"{HUB}/api/whoami-v2"), "TokenRefusedError", "wants a token", "HF_TOKEN"),
        (answer(403, token=TOKEN, X_Error_Code="GatedRepo"), "GatedError", "accept its terms",
         "at https://huggingface.co/acme/vit,"),
        (answer(403), "GatedError", "accept its terms", "hf auth login"),
        (answer(403, token=TOKEN), "TokenRefusedError", "has no right", "settings/tokens"),
        (answer(403, X_Error_Message="Access to this resource is disabled."), "ModelNotFoundError",
         "has disabled the model", "another"),
        (answer(404, f"{API}/revision/v%2F9", X_Error_Code="RevisionNotFound"), "ModelNotFoundError",
         "The model acme/vit has no revision 'v/9'.", "Set model.revision to main."),
        (answer(404, f"{HUB}/acme/vit/resolve/main/config.json", X_Error_Code="EntryNotFound"),
         "ModelNotFoundError", "The model acme/vit has no file config.json.", "acme/vit."),
        (answer(429, Retry_After="12"), "RateLimitedError", "takes no more requests", "again in 12 s."),
        (answer(429, ratelimit='"api";r=0;t=55'), "RateLimitedError", "takes no more requests", "in 55 s."),
        (answer(429), "RateLimitedError", "takes no more requests", "in a few minutes."),
        (answer(429, Retry_After="Wed, 21 Oct"), "RateLimitedError", "takes no more", "in a few minutes."),
        (answer(503), "HubUnreachableError", "trouble of its own (it answered 503)", "a few minutes"),
        (answer(409, body='{"error": "A commit has happened since"}'), "HubError",
         "(it answered 409): A commit has happened since.", "https://huggingface.co/acme/vit"),
        (httpx2.ReadTimeout("timed out"), "HubUnreachableError", "did not answer in time", "in a moment"),
        (TimeoutError("timed out"), "HubUnreachableError", "did not answer in time", "in a moment"),
        (httpx2.ConnectError("[Errno 111] Connection refused"), "HubUnreachableError", "cannot be reached",
         "Check the connection"),
        (httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED]"), "HubUnreachableError", "not trusted",
         "clock"),
        (httpx2.ProxyError("403 Forbidden"), "HubUnreachableError", "The proxy of this machine", "NO_PROXY"),
        (httpx2.RemoteProtocolError("peer closed connection without sending complete message body"),
         "BrokenDownloadError", "The connection broke while the model acme/vit came", "are kept"),
        (httpx2.RemoteProtocolError("Server disconnected without sending a response."), "HubUnreachableError",
         "cannot be reached", "Check the connection"),
        (httpx2.ReadError("[Errno 104] Connection reset by peer"), "BrokenDownloadError", "broke", "again"),
        (OSError("Consistency check failed: file should be of size 9 but has size 3 (x)."),
         "BrokenDownloadError", "broke", "nothing half-downloaded is used"),
        (OSError(errno.ENOSPC, "No space left on device"), "DownloadError", "the disk is full", "HF_HOME"),
        (httpx2.DecodingError("no JSON"), "HubUnreachableError", "is not the Hub", "login page"),
        (hub_errors.OfflineModeIsEnabled("x"), "HubUnreachableError", "HF_HUB_OFFLINE is set", "Unset it."),
        (hub_errors.LocalEntryNotFoundError("x"), "HubUnreachableError", "Not all of the model acme/vit is",
         "Connect"),
        (hub_errors.EntryNotFoundError("odd"), "HubError", "could not be had from the Hub: odd.", "Try"),
    ],
)  # fmt: skip
def test_a_failure_becomes_a_sentence_with_the_next_step(error, kind, message, hint):
    assert isinstance(error, HUB_FAILURES)
    found = told(error)
    assert found[0] == kind
    assert message in found[1] and found[1].endswith(".")
    assert hint in found[2]


def test_what_is_missing_of_a_data_set_is_a_data_error():
    url = "https://huggingface.co/api/datasets/acme/vit/revision/v9"
    assert told(answer(404, url, X_Error_Code="RepoNotFound"), "dataset")[:2] == (
        "DataNotFoundError", "There is no data set acme/vit on the Hub.",
    )  # fmt: skip
    kind, message, hint = told(answer(404, url, X_Error_Code="RevisionNotFound"), "dataset")
    assert (kind, message) == ("DataNotFoundError", "The data set acme/vit has no revision 'v9'.")
    assert hint == "Set data.revision to main."
    assert "huggingface.co/datasets/acme/vit," in told(answer(403, url), "dataset")[2]


@pytest.mark.parametrize("name", ["two words/x", "a/b/c", "-", "x" * 400])
def test_a_name_that_can_be_no_repository(name):
    with pytest.raises(HUB_FAILURES) as caught:
        validate_repo_id(name)
    kind, message, hint = told(caught.value)
    assert kind == "ModelNotFoundError" and "no name of a repository" in message
    assert "owner/name" in hint


def test_datasets_tells_its_reason_only_in_words():
    from datasets.exceptions import DatasetNotFoundError

    gated = DatasetNotFoundError("Dataset 'acme/vit' is a gated dataset on the Hub. Visit the page.")
    missing = DatasetNotFoundError("Dataset 'acme/vit' doesn't exist on the Hub or cannot be accessed.")
    revision = DatasetNotFoundError("Revision 'v9' doesn't exist for dataset 'acme/vit' on the Hub.")
    assert told(gated, "dataset")[0] == "GatedError"
    assert told(missing, "dataset")[1] == "There is no data set acme/vit on the Hub."
    assert told(revision, "dataset")[1] == "The data set acme/vit has no revision 'v9'."
    with pytest.raises(ConnectionError) as caught:
        raise ConnectionError("Couldn't reach 'acme/vit' on the Hub") from httpx2.ConnectTimeout("slow")
    assert "did not answer in time" in told(caught.value, "dataset")[1]


def test_the_cause_behind_a_wrapped_failure_is_told():
    with pytest.raises(hub_errors.LocalEntryNotFoundError) as caught:
        raise hub_errors.LocalEntryNotFoundError("not in the cache") from answer(503)
    assert "it answered 503" in told(caught.value)[1]
    with pytest.raises(ValueError) as wrapped:
        raise ValueError("could not load") from answer(429, Retry_After="7")
    assert told(wrapped.value)[2].startswith("Try again in 7 s.")


def test_an_error_of_ours_stays_as_it_is():
    own = ModelError("It is odd.", hint="Mend it.")
    assert explain(own, "the model x") is own


def test_no_sentence_holds_a_token():
    odd = httpx2.LocalProtocolError(f"Illegal header value b'Bearer {TOKEN} '")
    assert TOKEN not in " ".join(told(odd))
    echo = answer(422, body=f'{{"error": "who is {TOKEN}"}}')
    assert "who is hf_…" in told(echo)[1] and TOKEN not in " ".join(told(echo))
    assert scrub(f"a {TOKEN}, b") == "a hf_…, b"


def test_a_download_that_is_cut_off_by_a_real_server(tmp_path, monkeypatch):
    """The whole file is announced, a part is sent, and the line goes dead; the client gives up at once."""
    from huggingface_hub import constants, file_download

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)
    head = (
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: \"abc\"\r\nX-Repo-Commit: " + "a" * 40
        + "\r\nConnection: close\r\n\r\n"
    )  # fmt: skip
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        for _ in range(8):
            client, _ = server.accept()
            asked = client.recv(65536)
            client.sendall(head.encode() + (b"" if asked.startswith(b"HEAD") else b"x" * 10))
            client.close()

    threading.Thread(target=serve, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(HUB_FAILURES) as caught:
        hf_hub_download("acme/vit", "model.safetensors", endpoint=endpoint, cache_dir=tmp_path)
    server.close()
    assert told(caught.value)[0] == "BrokenDownloadError"
    assert not list(tmp_path.rglob("model.safetensors"))
