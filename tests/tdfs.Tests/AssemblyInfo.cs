// The command's terminals, sockets and users are Linux's; so are these tests.
[assembly: System.Runtime.Versioning.SupportedOSPlatform("linux")]
