"""The life of a customer gateway, by the official SDK as its makers ship it.

Environment: ENDPOINT (VPN and IAM), ACCESS_KEY, SECRET_KEY, PROJECT_ID, REGION, CA_CERTIFICATE (PEM).
"""

import json
import os
from datetime import datetime

from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException, ServerResponseException
from huaweicloudsdkcore.region.region import Region
from huaweicloudsdkvpn.v5 import *
from huaweicloudsdkvpn.v5.model.match import Match

ENDPOINT = os.environ["ENDPOINT"]
PROJECT_ID = os.environ["PROJECT_ID"]
REGION = os.environ["REGION"]
TYPE = "customer-gateway"


def client(credentials):
    return VpnClient.new_builder().with_credentials(credentials).with_region(Region(REGION, ENDPOINT)).build()


def moment(time):
    # Without dateutil the SDK hands times on as they came.
    return time if isinstance(time, datetime) else datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%fZ")


def refused(call, *args):
    try:
        call(*args)
    except (ClientRequestException, ServerResponseException) as error:
        assert error.request_id, error
        assert error.error_msg, error
        return error
    raise AssertionError("was not refused")


def create(vpn, **fields):
    content = CreateCgwRequestBodyContent(**fields)
    return vpn.create_cgw(CreateCgwRequest(body=CreateCgwRequestBody(customer_gateway=content)))


def all_ids(vpn, limit):
    ids, marker, pages = [], None, 0
    while True:
        answer = vpn.list_cgws(ListCgwsRequest(limit=limit, marker=marker))
        pages += 1
        assert answer.page_info.current_count == len(answer.customer_gateways)
        ids += [gateway.id for gateway in answer.customer_gateways]
        if answer.page_info.current_count < limit:
            return ids, pages, answer.total_count
        marker = answer.page_info.next_marker


def tags_of(vpn, id):
    answer = vpn.show_resource_tags(ShowResourceTagsRequest(resource_type=TYPE, resource_id=id))
    return {tag.key: tag.value for tag in answer.tags}


def main():
    keys = os.environ["ACCESS_KEY"], os.environ["SECRET_KEY"]
    # Without a project id: the SDK looks it up in IAM by the name of the region.
    os.environ["HUAWEICLOUD_SDK_IAM_ENDPOINT"] = ENDPOINT
    vpn = client(BasicCredentials(*keys))

    made = create(
        vpn,
        name="office-1",
        id_type="ip",
        id_value="203.0.113.7",
        bgp_asn=4294967295,
        ca_certificate=CaCertificateRequest(content=os.environ["CA_CERTIFICATE"]),
        tags=[VpnResourceTag(key="env", value="prúfung")],
    )
    assert made.request_id
    first = made.customer_gateway
    assert (first.name, first.id_type, first.id_value, first.bgp_asn) == ("office-1", "ip", "203.0.113.7", 4294967295)
    assert first.ca_certificate.subject == "CN=Office CA" and first.ca_certificate.is_updatable

    got = vpn.show_cgw(ShowCgwRequest(customer_gateway_id=first.id)).customer_gateway
    assert got.id == first.id and moment(got.created_at) <= moment(got.updated_at), got
    assert [(tag.key, tag.value) for tag in got.tags] == [("env", "prúfung")], got.tags

    others = [create(vpn, id_type="fqdn", id_value=f"vpn{n}.example.com").customer_gateway for n in range(4)]
    assert all(other.name.startswith("cgw-") and other.bgp_asn is None for other in others)
    everything = {first.id, *(other.id for other in others)}
    for limit, pages in [(2, 3), (5, 2), (200, 1)]:
        ids, seen, total = all_ids(vpn, limit)
        assert (set(ids), len(ids), seen, total) == (everything, 5, pages, 5), (limit, ids, seen, total)
    assert vpn.list_cgws(ListCgwsRequest(cgw_id=first.id)).customer_gateways[0].id == first.id

    renamed = UpdateCgwRequestBodyContent(name="office-2")
    body = UpdateCgwRequestBody(customer_gateway=renamed)
    changed = vpn.update_cgw(UpdateCgwRequest(customer_gateway_id=first.id, body=body)).customer_gateway
    assert changed.name == "office-2" and moment(changed.updated_at) > moment(changed.created_at)

    add = CreateResourcesTagsRequestBody(tags=[ResourceTag(key="team", value="net"), ResourceTag(key="x", value="")])
    answer = vpn.batch_create_resource_tags(
        BatchCreateResourceTagsRequest(resource_type=TYPE, resource_id=first.id, body=add)
    )
    assert answer.status_code == 204
    assert tags_of(vpn, first.id) == {"env": "prúfung", "team": "net", "x": ""}
    take = DeleteResourcesTagsRequestBody(tags=[ResourceTag(key="x")])
    answer = vpn.batch_delete_resource_tags(
        BatchDeleteResourceTagsRequest(resource_type=TYPE, resource_id=first.id, body=take)
    )
    assert answer.status_code == 204
    assert tags_of(vpn, first.id) == {"env": "prúfung", "team": "net"}
    project_tags = vpn.list_project_tags(ListProjectTagsRequest(resource_type=TYPE)).tags
    assert {tag.key: tag.values for tag in project_tags} == {"env": ["prúfung"], "team": ["net"]}

    query = QueryResourcesRequestBody(
        tags=[Tag(key="team", values=["net", "other"])], matches=[Match(key="resource_name", value="office-2")]
    )
    found = vpn.list_resources_by_tags(ListResourcesByTagsRequest(resource_type=TYPE, limit="10", body=query))
    assert found.total_count == 1 and found.resources[0].resource_id == first.id
    untagged = QueryResourcesRequestBody(without_any_tag=True)
    assert vpn.count_resources_by_tags(CountResourcesByTagsRequest(resource_type=TYPE, body=untagged)).total_count == 4

    quotas = {quota.type: quota for quota in vpn.show_quotas_info(ShowQuotasInfoRequest()).quotas.resources}
    assert quotas["customer_gateway"].used == 5 and quotas["customer_gateway"].quota == 100

    error = refused(lambda: create(vpn, id_value="256.1.1.1"))
    assert (error.status_code, error.error_code) == (400, "VPN.0203"), error
    unknown = ShowCgwRequest(customer_gateway_id="00000000-0000-4000-8000-000000000000")
    error = refused(vpn.show_cgw, unknown)
    assert (error.status_code, error.error_code) == (404, "VPN.0004"), error
    impostor = client(BasicCredentials(keys[0], "wrong", PROJECT_ID))
    error = refused(impostor.list_cgws, ListCgwsRequest())
    assert (error.status_code, error.error_code) == (401, "APIGW.0301"), error
    elsewhere = client(BasicCredentials(*keys, "f" * 32))
    error = refused(elsewhere.list_cgws, ListCgwsRequest())
    assert (error.status_code, error.error_code) == (403, "APIGW.0302"), error

    for id in everything:
        assert vpn.delete_cgw(DeleteCgwRequest(customer_gateway_id=id)).status_code == 204
    assert vpn.list_cgws(ListCgwsRequest()).total_count == 0
    print(json.dumps({"done": True}))


main()
