# Messages of the hub. Every key here is in ar.ftl too.
nodes-listed = The nodes
node-found = The node
node-being-made = The node is being made; follow it at the address in Location
node-being-changed = The node is being changed; follow it at the address in Location
node-being-deleted = The node is being deleted; its data is kept
statistics = How the platform is doing
revenue-summed = Sums of the revenue
audit-listed = What was done

holding-suspended = This school is closed for the time being. Its data is safe.
holding-soon = This school is being set up or restarted. Please come back in a few minutes.
holding-unknown = There is no school at this address.

wrong-credentials = The e-mail or password is wrong
account-suspended = This account is suspended; turn to a platform admin
reset-invalid = The one-time token is not valid, has expired or was used; ask a platform admin for another
slug-taken = There is a node of this name already
node-drops-database = This node's database would be dropped with it, which only a platform engineer at the cluster may order; set its reclaim policy to Retain first
field-owned = { $fields }: owned by { $manager }, which would put it back; change it there
cluster-forbids = The cluster does not allow this; turn to a platform engineer
last-platform-admin = This is the last active platform admin; make another first

field-slug = 3 to 40 characters of a-z, 0-9 and '-', beginning with a letter and ending with a letter or digit; some names are reserved
field-node-name = 1 to 128 characters
field-region = a label value such as mena
field-country = a country by ISO 3166-1 alpha-2, for example SA
field-node-currency = a currency by ISO 4217, for example SAR; it can never be changed
field-timezone = a time zone by its IANA name, for example Asia/Riyadh
field-node-state = Active, Suspended or Inactive
field-settings = an object of at most 64 keys and 64 KiB
field-spec = what a LocalNode may have
field-display-name = 1 to 128 characters on one line
field-central-role = platform-admin, content-manager, finance or support
field-status = active or suspended
field-role = student, instructor or admin
field-items = at most 500 items
field-report-by = node, country, month or day
field-day = a day such as 2026-11-25
