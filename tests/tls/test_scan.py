"""What a security officer's scanner says of the served appliance: sslyze, over real connections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sslyze import ScanCommandsExtraArguments, Scanner, ServerNetworkLocation, ServerScanRequest, ServerScanResult
from sslyze.plugins.certificate_info.implementation import CertificateInfoExtraArgument
from sslyze.plugins.scan_commands import ScanCommand
from sslyze.server_setting import ServerNetworkConfiguration

from tests.tls.conftest import MakeSettings
from tests.tls.live import Live, live

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")  # of an authority that sslyze brings

OLD = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2")
NAME = "box.ward.example"


@pytest.fixture
def served(settings: MakeSettings) -> Iterator[Live]:
    with live(settings(tls_names=[NAME])) as running:
        yield running


def scan(served: Live) -> ServerScanResult:
    request = ServerScanRequest(
        ServerNetworkLocation(hostname=NAME, port=served.port, ip_address="127.0.0.1"),
        ServerNetworkConfiguration(tls_server_name_indication=NAME),
        {*ScanCommand} - {ScanCommand.HTTP_HEADERS},
        ScanCommandsExtraArguments(certificate_info=CertificateInfoExtraArgument(served.settings.own_authority_path)),
    )
    scanner = Scanner()
    scanner.queue_scans([request])
    return next(iter(scanner.get_results()))


def test_tls_1_3_only_and_a_valid_chain(served: Live) -> None:
    found = scan(served).scan_result
    assert found
    for version in OLD:
        suites = getattr(found, f"{version}_cipher_suites").result
        assert suites.accepted_cipher_suites == [], version
        assert suites.rejected_cipher_suites, version
    modern = found.tls_1_3_cipher_suites.result
    assert modern
    names = {suite.cipher_suite.name for suite in modern.accepted_cipher_suites}
    assert names == {"TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"}

    information = found.certificate_info.result
    assert information
    (deployment,) = information.certificate_deployments
    assert any(path.was_validation_successful for path in deployment.path_validation_results)
    assert deployment.received_chain_has_valid_order
    assert not deployment.verified_chain_has_sha1_signature

    assert found.heartbleed.result
    assert not found.heartbleed.result.is_vulnerable_to_heartbleed
    assert found.tls_compression.result
    assert not found.tls_compression.result.supports_compression
    assert found.tls_1_3_early_data.result
    assert not found.tls_1_3_early_data.result.supports_early_data  # what is sent early could be sent again by others
    assert found.session_renegotiation.result
    assert not found.session_renegotiation.result.is_vulnerable_to_client_renegotiation_dos
