"""VPN users, groups, members and servers, by the official SDK as its makers ship it.

Environment: ENDPOINT, ACCESS_KEY, SECRET_KEY, PROJECT_ID, REGION, VPN_SERVER_ID, P2C_GATEWAY_ID.
"""

import json
import os

from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcore.region.region import Region
from huaweicloudsdkvpn.v5 import *

SERVER = os.environ["VPN_SERVER_ID"]
TOKEN = "7f9c24e8-3b12-4d0c-9a57-1b2c3d4e5f60"
PASSWORD = 'S3cret "pass\\~1'


def refused(status, code, call, request):
    try:
        call(request)
    except ClientRequestException as error:
        assert (error.status_code, error.error_code) == (status, code), error
        assert len(error.request_id) == 32 and error.error_msg, error
        return
    raise AssertionError("was not refused")


def creation(name, token=None, **fields):
    content = CreateVpnUserRequestBodyContent(name=name, password=PASSWORD, **fields)
    return CreateVpnUserRequest(
        vpn_server_id=SERVER, x_client_token=token, body=CreateVpnUserRequestBody(user=content)
    )


def pages(call, request, key):
    items, marker, count = [], None, 0
    while True:
        request.marker = marker
        answer = call(request)
        count += 1
        found = getattr(answer, key)
        assert answer.page_info.current_count == len(found)
        items += found
        if answer.page_info.current_count < request.limit:
            assert answer.total_count == len(items)
            return items, count
        marker = answer.page_info.next_marker
        if not marker:
            return items, count


def show(vpn, id):
    return vpn.show_vpn_user(ShowVpnUserRequest(vpn_server_id=SERVER, user_id=id)).user


def servers(vpn):
    listed = vpn.list_vpn_servers_by_project(ListVpnServersByProjectRequest(limit=10))
    assert (listed.total_count, listed.page_info.next_marker) == (1, None)
    server = listed.vpn_servers[0]
    assert (server.id, server.status, server.client_auth_type) == (SERVER, "ACTIVE", "LOCAL_PASSWORD"), server
    assert (server.client_cidr, server.tunnel_protocol) == ("192.168.10.0/24", "SSL")
    assert server.ssl_options.port == 443 and server.server_certificate.issuer
    gateway = ListVpnServersByVgwRequest(p2c_vgw_id=os.environ["P2C_GATEWAY_ID"])
    assert [other.id for other in vpn.list_vpn_servers_by_vgw(gateway).vpn_servers] == [SERVER]


def users(vpn):
    made = vpn.create_vpn_user(creation("alice.dev", TOKEN, description="it's on-call", static_ip="192.168.10.5"))
    assert made.status_code == 201 and len(made.request_id) == 32
    id = made.user.id
    again = vpn.create_vpn_user(creation("alice.dev", TOKEN, description="it's on-call", static_ip="192.168.10.5"))
    assert again.user.id == id
    refused(400, "VPN.0031", vpn.create_vpn_user, creation("bobby", TOKEN))
    refused(400, "VPN.1301", vpn.create_vpn_user, creation("Alice.Dev"))
    refused(400, "VPN.1306", vpn.create_vpn_user, creation("SecureNAT"))

    user = show(vpn, id)
    assert (user.name, user.description, user.static_ip) == ("alice.dev", "it's on-call", "192.168.10.5")
    assert user.user_group_id is None and user.created_at == user.updated_at

    content = UpdateVpnUserRequestBodyContent(description="", static_ip="disable")
    update = UpdateVpnUserRequest(
        vpn_server_id=SERVER, user_id=id, body=UpdateVpnUserRequestBody(user=content)
    )
    changed = vpn.update_vpn_user(update).user
    assert (changed.description, changed.static_ip, changed.name) == ("", "disable", "alice.dev")

    def reset(new):
        body = ResetVpnUserPasswordRequestBody(new_password=new)
        return ResetVpnUserPasswordRequest(vpn_server_id=SERVER, user_id=id, body=body)

    assert vpn.reset_vpn_user_password(reset("Fresh pass 1")).request_id
    refused(400, "VPN.1308", vpn.reset_vpn_user_password, reset(PASSWORD))
    refused(400, "VPN.1307", vpn.reset_vpn_user_password, reset("short"))

    def change(old, new):
        body = UpdateVpnUserPasswordRequestBody(old_password=old, new_password=new)
        return UpdateVpnUserPasswordRequest(vpn_server_id=SERVER, user_id=id, body=body)

    refused(400, "VPN.1312", vpn.update_vpn_user_password, change(PASSWORD, "Fresh pass 2"))
    assert vpn.update_vpn_user_password(change("Fresh pass 1", "Fresh pass 2")).request_id
    return id


def batches(vpn):
    def batch(*items):
        body = BatchCreateVpnUsersRequestBody(users=list(items))
        return BatchCreateVpnUsersRequest(vpn_server_id=SERVER, body=body)

    dozen = [CreateVpnUser(name=f"user{n:02}", password=PASSWORD, user_group_name="default") for n in range(12)]
    made = vpn.batch_create_vpn_users(batch(*dozen))
    assert (made.status_code, made.invalid_users) == (201, [])
    wrong = CreateVpnUser(name="carol", password="short", user_group_name="default")
    answer = vpn.batch_create_vpn_users(batch(CreateVpnUser(name="dave", password=PASSWORD), wrong))
    assert answer.status_code == 201
    assert [(user.name, user.cause) for user in answer.invalid_users] == [("carol", "Password length invalid.")]
    refused(400, "VPN.1318", vpn.batch_create_vpn_users, batch())

    listed, count = pages(vpn.list_vpn_users, ListVpnUsersRequest(vpn_server_id=SERVER, limit=5), "users")
    names = {user.name for user in listed}
    assert names == {"alice.dev", *(f"user{n:02}" for n in range(12))}, names
    assert (len(listed), count) == (13, 3)
    assert {user.user_group_name for user in listed} == {None, "default"}
    return [user.id for user in listed if user.name.startswith("user")]


def groups(vpn, alice, dozen):
    def named(name, description=None):
        content = CreateVpnUserGroupRequestBodyContent(name=name, description=description)
        body = CreateVpnUserGroupRequestBody(user_group=content)
        return CreateVpnUserGroupRequest(vpn_server_id=SERVER, body=body)

    made = vpn.create_vpn_user_group(named("ops", "on call"))
    assert made.status_code == 201
    id = made.user_group.id
    refused(400, "VPN.1304", vpn.create_vpn_user_group, named("ops"))
    listed, _ = pages(vpn.list_vpn_user_groups, ListVpnUserGroupsRequest(vpn_server_id=SERVER, limit=50), "user_groups")
    assert {(group.name, group.type) for group in listed} == {("default", "Default"), ("ops", "Custom")}
    default = next(group for group in listed if group.type == "Default")
    assert default.user_number == 12

    body = AddVpnUserToGroupRequestBody(users=[OpVpnUser(id=user) for user in [alice, *dozen]])
    added = vpn.add_vpn_users_to_group(AddVpnUsersToGroupRequest(vpn_server_id=SERVER, group_id=id, body=body))
    assert added.status_code == 201 and added.request_id
    members = ListVpnUsersInGroupRequest(vpn_server_id=SERVER, group_id=id, limit=5)
    found, count = pages(vpn.list_vpn_users_in_group, members, "users")
    assert (len(found), count) == (13, 3)
    assert (show(vpn, alice).user_group_id, show(vpn, alice).user_group_name) == (id, "ops")

    body = RemoveVpnUserFromGroupRequestBody(users=[OpVpnUser(id=alice)])
    request = RemoveVpnUsersFromGroupRequest(vpn_server_id=SERVER, group_id=id, body=body)
    assert vpn.remove_vpn_users_from_group(request).status_code == 201
    assert show(vpn, alice).user_group_id is None
    shown = vpn.show_vpn_user_group(ShowVpnUserGroupRequest(vpn_server_id=SERVER, group_id=id)).user_group
    assert (shown.user_number, shown.description) == (12, "on call")

    def renaming(group):
        content = UpdateVpnUserGroupRequestBodyContent(name="ops 2", description="")
        body = UpdateVpnUserGroupRequestBody(user_group=content)
        return UpdateVpnUserGroupRequest(vpn_server_id=SERVER, group_id=group, body=body)

    assert vpn.update_vpn_user_group(renaming(id)).user_group.name == "ops 2"
    refused(400, "VPN.1314", vpn.update_vpn_user_group, renaming(default.id))
    removal = DeleteVpnUserGroupRequest(vpn_server_id=SERVER, group_id=id)
    assert vpn.delete_vpn_user_group(removal).status_code == 204
    refused(404, "VPN.0004", vpn.delete_vpn_user_group, removal)
    assert show(vpn, dozen[0]).user_group_id is None


def main():
    credentials = BasicCredentials(os.environ["ACCESS_KEY"], os.environ["SECRET_KEY"], os.environ["PROJECT_ID"])
    region = Region(os.environ["REGION"], os.environ["ENDPOINT"])
    vpn = VpnClient.new_builder().with_credentials(credentials).with_region(region).build()
    servers(vpn)
    alice = users(vpn)
    dozen = batches(vpn)
    groups(vpn, alice, dozen)

    body = BatchDeleteVpnUsersRequestBody(users=[OpVpnUser(id=user) for user in dozen])
    gone = vpn.batch_delete_vpn_users(BatchDeleteVpnUsersRequest(vpn_server_id=SERVER, body=body))
    assert gone.status_code == 200 and gone.request_id
    removal = DeleteVpnUserRequest(vpn_server_id=SERVER, user_id=alice)
    assert vpn.delete_vpn_user(removal).status_code == 204
    refused(404, "VPN.0004", vpn.delete_vpn_user, removal)
    assert vpn.list_vpn_users(ListVpnUsersRequest(vpn_server_id=SERVER)).total_count == 0
    unknown = ListVpnUsersRequest(vpn_server_id="00000000-0000-4000-8000-000000000000")
    refused(404, "VPN.0004", vpn.list_vpn_users, unknown)
    print(json.dumps({"done": True}))


main()
