# Messages of the node. Every key here is in ar.ftl too.
node-described = This is a learning node of the Fateh platform
signed-in = Signed in
invitation-accepted = The admin account was created and signed in
user-created = The user was created
users-listed = The users

not-found = There is nothing at this address
method-not-allowed = This method is not allowed at this address
invalid-request = The request is not valid
invalid-json = The request could not be read: JSON with the documented fields is expected
payload-too-large = The request is larger than is accepted
unauthenticated = Sign in first
token-expired = The session has expired; sign in again
wrong-credentials = The e-mail, user name or password is wrong
account-suspended = This account is suspended; turn to the node's admin
forbidden = You are not allowed to do this
invitation-invalid = The invitation is not valid, has expired or was used; ask the platform's team for another
username-taken = The user name is taken
email-taken = The e-mail is taken
overloaded = The service is busy; try again in a moment
timeout = The request took too long; try again
unavailable = The service is not available now; try again in a moment
internal = Something unexpected went wrong

field-username = 3 to 64 letters, digits, '.', '_' or '-', without spaces
field-email = an e-mail address, for example student@example.com
field-password = at least 12 and at most 256 characters
field-role = student, instructor or admin
field-limit = a number from 1 to 200
field-cursor = the nextCursor of the page before
