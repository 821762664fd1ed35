"""Answers of the stand-in Hub that are no success, and who is asking."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.stand_ins.hub_repos import Repository

BAD_TOKEN = "Invalid credentials in Authorization header"
NOT_LOGGED_IN = "Invalid username or password."


class Refusal(Exception):  # noqa: N818  (an answer, not a failure of the stand-in)
    """Ends a request with a status other than success.

    Args:
        status: The HTTP status.
        message: In the body and in `X-Error-Message`.
        code: `X-Error-Code`, from which the client chooses its exception.
        headers: More headers.
        body: More of the JSON body.
    """

    def __init__(
        self, status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None, **body: Any
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": message, **body}
        self.headers = {
            "X-Error-Message": message,
            **({"X-Error-Code": code} if code else {}),
            **(headers or {}),
        }

    def response(self) -> Response:
        return JSONResponse(self.body, self.status, self.headers)


def caller(request: Request, tokens: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Who asks; None without a token. Raises Refusal for one that nobody was given."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if not scheme:
        return None
    if token not in tokens:
        raise Refusal(401, BAD_TOKEN)
    return tokens[token]


def organisations(user: Mapping[str, Any]) -> list[str]:
    return [one if isinstance(one, str) else one["name"] for one in user.get("orgs", ())]


def whoami(user: Mapping[str, Any] | None) -> dict[str, Any]:
    if user is None:
        raise Refusal(401, NOT_LOGGED_IN)
    access = {"displayName": user.get("token_name", "test"), "role": user.get("role", "read")}
    if "fineGrained" in user:
        access |= {"role": "fineGrained", "fineGrained": user["fineGrained"]}
    orgs = [
        {"type": "org", "name": name, "fullname": name, "roleInOrg": "write"} for name in organisations(user)
    ]
    return {
        "type": "user", "id": user["name"], "name": user["name"], "fullname": user["name"], "isPro": False,
        "orgs": orgs, "auth": {"type": "access_token", "accessToken": access},
    }  # fmt: skip


def can_write(user: Mapping[str, Any], owner: str) -> bool:
    """Whether this token may push to repositories of a user or organisation."""
    scopes = user.get("fineGrained", {}).get("scoped", ())
    for scope in scopes:
        if scope["entity"]["name"] == owner and "repo.write" in scope["permissions"]:
            return True
    is_own = owner == user["name"] or owner in organisations(user)
    return is_own and user.get("role") in ("write", "admin")


def require_writer(user: Mapping[str, Any] | None, owner: str, what: str) -> Mapping[str, Any]:
    if user is None:
        raise Refusal(401, NOT_LOGGED_IN)
    if not can_write(user, owner):
        raise Refusal(403, f'You don\'t have the rights to {what} under the namespace "{owner}"')
    return user


def require_reader(user: Mapping[str, Any] | None, repo: Repository) -> None:
    """Refuses a repository that does not exist or that is another's secret, without telling which."""
    is_member = user is not None and (repo.owner == user["name"] or repo.owner in organisations(user))
    if repo.exists and (is_member or not repo.is_private):
        return
    if user is None:  # The client knows a 401 without this code for a missing repository over https only.
        raise Refusal(401, NOT_LOGGED_IN, "RepoNotFound")
    raise Refusal(404, "Repository not found", "RepoNotFound")


def require_accepted(user: Mapping[str, Any] | None, repo: Repository) -> None:
    """Refuses the files of a gated repository to whoever did not accept its terms."""
    if not repo.gated:
        return
    if user is None:
        raise Refusal(
            401,
            f"Access to model {repo.id} is restricted. You must have access to it and be authenticated to "
            "access it. Please log in.",
            "GatedRepo",
        )
    accepted = user.get("accepted", "all")
    if accepted != "all" and repo.id not in accepted:
        raise Refusal(
            403,
            f"Access to model {repo.id} is restricted and you are not in the authorized list. Visit "
            f"https://huggingface.co/{repo.id} to ask for access.",
            "GatedRepo",
        )
