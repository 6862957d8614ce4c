namespace TokTok.Storage.Testing;

/// <summary>Runs work at once, on the thread that asks for it: what happens beside other things in a process of ours happens here before them, the same in every run.</summary>
public sealed class InlineScheduler : TaskScheduler
{
    public static InlineScheduler Instance { get; } = new();

    protected override void QueueTask(Task task) => TryExecuteTask(task);

    protected override bool TryExecuteTaskInline(Task task, bool taskWasPreviouslyQueued) => TryExecuteTask(task);

    protected override IEnumerable<Task> GetScheduledTasks() => [];
}
