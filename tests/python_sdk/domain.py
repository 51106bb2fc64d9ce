"""The domain of an access key, which clients of global services ask for first, by the core of the official SDK.

Environment: ENDPOINT, ACCESS_KEY, SECRET_KEY, REGION.
"""

import json
import os

from huaweicloudsdkcore.auth.credentials import GlobalCredentials
from huaweicloudsdkcore.client import Client, ClientBuilder
from huaweicloudsdkcore.region.region import Region

endpoint = os.environ["ENDPOINT"]
credentials = GlobalCredentials(os.environ["ACCESS_KEY"], os.environ["SECRET_KEY"]).with_iam_endpoint(endpoint)
region = Region(os.environ["REGION"], endpoint)
ClientBuilder(Client, "GlobalCredentials").with_credentials(credentials).with_region(region).build()
assert len(credentials.domain_id) == 32, credentials.domain_id
print(json.dumps({"done": True}))
