namespace TokTok.Storage.Files;

/// <summary>For whom an operation is done.</summary>
/// <param name="UserId">New files belong to this user.</param>
/// <param name="GroupId">And to this group, unless their directory hands down its own (set-group-id).</param>
/// <param name="FrontEnd">A number that the front end chose, which comes back in <see cref="VolumeChange"/>: so it can pass over what it did itself.</param>
/// <param name="Umask">Permissions that new files do not get, unless their directory has a default access control list.</param>
public readonly record struct FileCaller(uint UserId, uint GroupId, int FrontEnd = 0, uint Umask = 0);
