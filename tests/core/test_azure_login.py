"""Nine errors become the one that tells. The texts are what azure-identity 1.27 says."""

import pytest

from waa.core.azure import Auth
from waa.core.azure_login import told

NOTHING = """DefaultAzureCredential failed to retrieve a token from the included credentials.
Attempted credentials:
\tEnvironmentCredential: EnvironmentCredential authentication unavailable. Environment variables are not fully configured.
Visit https://aka.ms/azsdk/python/identity/environmentcredential/troubleshoot to troubleshoot this issue.
\tWorkloadIdentityCredential: WorkloadIdentityCredential authentication unavailable. The workload options are not fully configured.
\tManagedIdentityCredential: ManagedIdentityCredential authentication unavailable, no response from the IMDS endpoint.
\tAzureCliCredential: Azure CLI not found on path
To mitigate this issue, please refer to the troubleshooting guidelines here at https://aka.ms/azsdk/python/identity/defaultazurecredential/troubleshoot."""
NOT_LOGGED_IN = NOTHING.replace("Azure CLI not found on path", "Please run 'az login' to set up an account")
EXPIRED = "ERROR: AADSTS70043: The refresh token has expired or is invalid due to sign-in frequency checks by conditional access."
SECRET = (
    "EnvironmentCredential: Authentication failed: AADSTS7000215: Invalid client secret provided. Ensure the secret being sent is right."
)


@pytest.mark.parametrize(
    ("message", "auth", "line", "remedy"),
    [
        (NOTHING, Auth.AUTO, "No way to log in to Azure was found on this machine", "az login"),
        (NOT_LOGGED_IN, Auth.AUTO, "The Azure CLI is not logged in", "az login"),
        ("Azure CLI not found on path", Auth.CLI, "The Azure CLI (az) is not installed, or not on the PATH of this server", "Install it"),
        (EXPIRED, Auth.CLI, "The login of the Azure CLI has expired", "az login"),
        (SECRET, Auth.AUTO, "The secret of the service principal is wrong", "AZURE_CLIENT_SECRET"),
        (
            "AADSTS7000222: The provided client secret keys are expired.",
            Auth.ENV,
            "The secret of the service principal has expired",
            "reset",
        ),
        (
            "AADSTS700016: Application with identifier 'x' was not found",
            Auth.ENV,
            "The service principal is not known in this tenant",
            "TENANT",
        ),
        (
            "EnvironmentCredential authentication unavailable. Environment variables are not fully configured.",
            Auth.ENV,
            "The AZURE_* variables do not name a service principal",
            "AZURE_TENANT_ID",
        ),
        (
            "ManagedIdentityCredential authentication unavailable, no response from the IMDS endpoint.",
            Auth.MANAGED,
            "This machine has no managed identity",
            "azure_auth",
        ),
        ("<urllib3 object>: Failed to resolve 'login.microsoftonline.com'", Auth.ENV, "The login service cannot be reached", "network"),
        ("AADSTS530003: Your device is required to be managed.", Auth.CLI, "AADSTS530003: Your device is required to be managed.", "code"),
        ("Something else\nand more", Auth.CLI, "Something else", "azure_auth"),
        ("", Auth.CLI, "The login failed", "azure_auth"),
    ],
)
def test_the_telling_line(message: str, auth: Auth, line: str, remedy: str) -> None:
    told_line, told_remedy = told(message, auth)
    assert told_line == line
    assert remedy in told_remedy


def test_a_line_is_short_and_hides_what_it_should() -> None:
    line, _ = told("client_secret=abcdefgh12345678abcdefgh " + "x" * 999, Auth.CLI)
    assert len(line) < 300
    assert "abcdefgh12345678" not in line
