namespace TokTok.Storage.Files;

/// <summary>What setattr is asked to change; what is null stays. All of it happens or none.</summary>
public readonly record struct AttributeChange
{
    /// <summary>The lower twelve bits of st_mode.</summary>
    public uint? Mode { get; init; }

    public uint? OwnerId { get; init; }

    public uint? GroupId { get; init; }

    /// <summary>Cuts the file off, or lets it grow by a hole.</summary>
    public long? Size { get; init; }

    public TimeChange Accessed { get; init; }

    public TimeChange Modified { get; init; }

    /// <summary>The change time, where the kernel keeps it (writeback cache); otherwise every change sets it to now.</summary>
    public TimeChange Changed { get; init; }

    /// <summary>Takes set-user-id, set-group-id and file capabilities away with it, as a change of size by someone without privilege must.</summary>
    public bool DropsPrivileges { get; init; }
}

/// <summary>A time to set: none, the volume's own now, or one that is given.</summary>
public readonly record struct TimeChange
{
    private readonly FileTime _time;
    private readonly byte _kind;

    private TimeChange(byte kind, FileTime time) => (_kind, _time) = (kind, time);

    public static TimeChange None => default;

    public static TimeChange Now => new(1, default);

    public bool IsNone => _kind == 0;

    public static TimeChange To(FileTime time) => new(2, time);

    /// <summary>The time after the change.</summary>
    public FileTime Apply(FileTime present, FileTime now) => _kind switch
    {
        0 => present,
        1 => now,
        _ => _time,
    };
}
