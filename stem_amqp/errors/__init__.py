"""All errors that stem-amqp raises.

The exceptions that a task raises to control its message are in `stem_amqp.task_control`.

StemError
├── ConfigurationError            a setting, an option or a URL is not valid
│   ├── MessageTooLargeError      a body beyond STEM_MAX_BODY_SIZE
│   ├── TopologyError             the topology file: file, line, key and remedy
│   └── TaskDefinitionError       a function that cannot become a task
├── DecodeError                   a body that is not a task message (keeps the bytes)
├── SignatureError                a missing or invalid signature, or a key that is not accepted
│   ├── ReplayedMessageError      a signed publish that was received before, or too late
│   ├── NotEncryptedError         a body that is not encrypted although it must be
│   └── ResultSignatureError      also a ResultUnavailableError, see below
├── UnknownTaskError              no task with that name is registered
├── ArgumentsError                arguments that do not fit the task's signature
├── ResultError                   a run returned a value that JSON cannot represent unchanged
├── BrokerError
│   ├── BrokerUnavailableError    no connection could be opened
│   ├── BrokerRefusedError        credentials, virtual host or permission
│   ├── ManagementError           the management API does not answer, or refuses
│   │   └── ManagementUnavailableError  it cannot be reached
│   ├── TopologyMismatchError     the broker's entity differs from the topology
│   ├── TopologyMissingError      an entity of the topology is not on the broker
│   ├── FeatureMissingError       the topology needs a newer release of the broker
│   ├── MigrationTimeoutError     a queue's migration made no progress in time
│   ├── StaleDeliveryError        settling a delivery of a closed channel
│   └── PublishError
│       ├── UnwritableError       the message cannot be encoded as AMQP
│       ├── UnroutableError       the message matches no queue
│       ├── PublishRefusedError   the broker answered with a nack
│       └── PublishTimeoutError   no confirm in time: it may or may not have arrived
├── BackendError                  the result backend
│   ├── BackendUnavailableError   it cannot be reached
│   ├── ReplyRefusedError         the broker refuses the reply to a producer
│   └── ResultUnavailableError    this backend cannot provide the answer
│       └── ResultSignatureError  the signature of a stored outcome is missing or invalid
├── EnqueueManyError              some calls of a bulk enqueue were not confirmed
├── DuplicateTaskError            an equal unique task is already enqueued
├── DeadLetterNotFoundError       no dead letter with that id in the queue
├── ResultTimeoutError            the result did not arrive in time
├── TaskFailedError               the task ended without a result, raised by ``result()``
├── TimeLimitError                a run took longer than its hard time limit
├── SoftTimeLimitError            raised inside the task at its soft time limit
└── ProcessDiedError              the child process of a run died
"""

from __future__ import annotations

from stem_amqp.errors.backend import (
    BackendError,
    BackendUnavailableError,
    ReplyRefusedError,
    ResultSignatureError,
    ResultUnavailableError,
)
from stem_amqp.errors.base import (
    StemError,
)
from stem_amqp.errors.broker import (
    BrokerError,
    BrokerRefusedError,
    BrokerUnavailableError,
    FeatureMissingError,
    ManagementError,
    ManagementUnavailableError,
    MigrationTimeoutError,
    PublishError,
    PublishRefusedError,
    PublishTimeoutError,
    StaleDeliveryError,
    TopologyMismatchError,
    TopologyMissingError,
    UnroutableError,
    UnwritableError,
)
from stem_amqp.errors.call import (
    DeadLetterNotFoundError,
    DuplicateTaskError,
    EnqueueManyError,
)
from stem_amqp.errors.configuration import (
    ConfigurationError,
    MessageTooLargeError,
    TaskDefinitionError,
    TopologyError,
)
from stem_amqp.errors.message import (
    ArgumentsError,
    DecodeError,
    NotEncryptedError,
    ReplayedMessageError,
    SignatureError,
    UnknownTaskError,
)
from stem_amqp.errors.run import (
    ProcessDiedError,
    ResultError,
    ResultTimeoutError,
    SoftTimeLimitError,
    TaskFailedError,
    TimeLimitError,
)

__all__ = [
    "ArgumentsError",
    "BackendError",
    "BackendUnavailableError",
    "BrokerError",
    "BrokerRefusedError",
    "BrokerUnavailableError",
    "ConfigurationError",
    "DeadLetterNotFoundError",
    "DecodeError",
    "DuplicateTaskError",
    "EnqueueManyError",
    "FeatureMissingError",
    "ManagementError",
    "ManagementUnavailableError",
    "MessageTooLargeError",
    "MigrationTimeoutError",
    "NotEncryptedError",
    "ProcessDiedError",
    "PublishError",
    "PublishRefusedError",
    "PublishTimeoutError",
    "ReplayedMessageError",
    "ReplyRefusedError",
    "ResultError",
    "ResultSignatureError",
    "ResultTimeoutError",
    "ResultUnavailableError",
    "SignatureError",
    "SoftTimeLimitError",
    "StaleDeliveryError",
    "StemError",
    "TaskDefinitionError",
    "TaskFailedError",
    "TimeLimitError",
    "TopologyError",
    "TopologyMismatchError",
    "TopologyMissingError",
    "UnknownTaskError",
    "UnroutableError",
    "UnwritableError",
]


def _name_public_module() -> None:
    """Have tracebacks and stored failures show the module from which applications import an error."""
    for name in __all__:
        globals()[name].__module__ = __name__


_name_public_module()
